# Postern's checks. `make test` is what CI runs; `make prove` is the long form.
GO      ?= go
PKGS    := ./...
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

.PHONY: build test packages lint vuln unit prove fuzz bench micro bare

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o postern ./cmd/postern

test: packages lint vuln unit

# The peers of the lab: Debian packages, installed when root.
packages:
	sh .ci/install

lint:
	@out=$$(gofmt -l cmd config internal zones); if [ -n "$$out" ]; then echo "gofmt: $$out"; exit 1; fi
	$(GO) vet $(PKGS)
	$(GO) tool staticcheck $(PKGS)

# govulncheck needs its database; without it that is said, and the rest goes on.
vuln:
	sh .ci/vuln $(GO)

# The second line is for what the race detector cannot carry: it has memory of
# its own, and is slow under strace.
unit:
	$(GO) test -race -shuffle=on -timeout 20m $(PKGS)
	$(GO) test -count=1 -shuffle=on -run '^(TestDurableBeforePolite|TestMemoryOfSessions)$$' ./internal/app

# Long proofs: every fuzz target for a while, the slow tests, a bare Debian.
prove: test fuzz bare
	POSTERN_PROVE=1 $(GO) test -race -shuffle=on -timeout 80m $(PKGS)

FUZZTIME ?= 60s
fuzz:
	sh .ci/fuzz $(GO) $(FUZZTIME)

# The tables of the manual's page on speed, beside NSD and Knot, and the times
# of answers while zones are reloaded and while somebody floods: on a machine
# that does nothing else. TABLES is any of those below;
# total and edits need qemu-system-x86 and KERNEL, a Linux image; mail needs root,
# and mailchecks postfix-policyd-spf-python too; else they say so.
ROUNDS ?= 5
SECS   ?= 4
TABLES ?= plain,signed,defaults,count,total,edits,mixes,load,signing,signededits,mail,mailchecks
KERNEL ?=
bench: build
	$(GO) run ./internal/lab/bench -bin ./postern -rounds $(ROUNDS) -secs $(SECS) -only $(TABLES) -kernel "$(KERNEL)"
	POSTERN_PROVE=1 POSTERN_LAB_BINARY=$(CURDIR)/postern $(GO) test -count=1 -v -parallel 1 -timeout 100m -run '^(TestReloadUnderLoad|TestFlood|TestLoginFlood)$$' ./internal/lab

# What single functions cost.
micro:
	$(GO) test -run '^$$' -bench . -benchmem $(PKGS)

# make test inside a debootstrap folder that holds only Go, git, make, gcc and libc6-dev.
bare:
	sh .ci/bare
