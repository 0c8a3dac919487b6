package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// mailServer is one of those that are measured, with all that works for it.
type mailServer struct {
	name  string
	start func() ([]*server, error)
}

// mailPrograms are what the table needs beside Postern, by Debian package.
var mailPrograms = map[string]string{
	"postfix": "/usr/lib/postfix/sbin/master", "opendkim": "opendkim", "opendmarc": "opendmarc", "postfix-policyd-spf-python": "policyd-spf",
	"nsd": "nsd", "unbound": "unbound", "iproute2": "ip",
}

// lacking names the packages that are not installed.
func lacking() (names []string) {
	for name, program := range mailPrograms {
		if _, err := exec.LookPath(program); err != nil {
			names = append(names, name)
		}
	}
	return names
}

const posternMail = `[server]
hostname = "%[1]s"
state    = "%[2]s/state"
control  = "%[2]s/control.sock"
[[listen]]
serve   = "mx"
address = ["%[3]s:25"]
[mail]
domains = ["%[4]s"]
[mail.route."%[4]s"]
next_hop   = ["smtp://%[5]s:25"]
recipients = "any"
[limits]
exempt = ["198.18.0.0/15"]
[resolver]
root_hints = "%[6]s/root.hints"
validate   = false
[tls]
issuer = "local"
`

// mailPostern is Postern as it comes, with its checks on; its rates of one
// address do not count for who measures.
func (b *bench) mailPostern() mailServer {
	return mailServer{"Postern", func() ([]*server, error) {
		dir, err := os.MkdirTemp(b.dir, "postern")
		if err != nil {
			return nil, err
		}
		conf := filepath.Join(dir, "postern.toml")
		text := fmt.Sprintf(posternMail, edgeName, dir, edgeAddress, ourDomain, innerAddress, b.dir)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			return nil, err
		}
		p, err := b.run("postern", b.binary, "serve", "--config", conf)
		if err != nil {
			return nil, err
		}
		return []*server{p}, awaitPort(edgeAddress + ":25")
	}}
}

// postfixMain is main.cf: as the script of the plain case has it, and what
// Debian's documentation of the three that check has one add.
const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
meta_directory = /etc/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = /dev/stdout
multi_instance_enable = yes
alias_maps =
alias_database =
local_recipient_maps =
mydestination =
myhostname = %[2]s
relay_domains = %[3]s
relayhost = [%[4]s]:25
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_tls_security_level = none
smtp_tls_security_level = none
default_destination_concurrency_limit = 100
initial_destination_concurrency = 20
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
smtpd_milters = inet:127.0.0.1:8891, inet:127.0.0.1:8893
milter_default_action = tempfail
smtpd_recipient_restrictions = reject_unauth_destination, check_policy_service unix:private/policyd-spf
policyd-spf_time_limit = 3600
`

const postfixMaster = `%[1]s:25   inet  n  -  n  -     100 smtpd
pickup    unix  n  -  n  60    1  pickup
cleanup   unix  n  -  n  -     0  cleanup
qmgr      unix  n  -  n  300   1  qmgr
tlsmgr    unix  -  -  n  1000? 1  tlsmgr
rewrite   unix  -  -  n  -     -  trivial-rewrite
bounce    unix  -  -  n  -     0  bounce
defer     unix  -  -  n  -     0  bounce
trace     unix  -  -  n  -     0  bounce
verify    unix  -  -  n  -     1  verify
proxymap  unix  -  -  n  -     -  proxymap
smtp      unix  -  -  n  -     -  smtp
relay     unix  -  -  n  -     -  smtp
error     unix  -  -  n  -     -  error
retry     unix  -  -  n  -     -  error
discard   unix  -  -  n  -     -  discard
anvil     unix  -  -  n  -     1  anvil
scache    unix  -  -  n  -     1  scache
postlog   unix-dgram n - n -   1  postlogd
policyd-spf unix - n  n  -     0  spawn user=policyd-spf argv=policyd-spf %[2]s/spf.conf
`

const (
	spfConf = "debugLevel = 1\nTestOnly = 1\nHELO_reject = Fail\nMail_From_reject = Fail\nPermError_reject = False\nTempError_Defer = False\n" +
		"skip_addresses = 127.0.0.0/8\nHeader_Type = AR\nAuthserv_Id = " + edgeName + "\n"
	dkimConf  = "Mode v\nSocket inet:8891@127.0.0.1\nSyslog no\nUserID opendkim\nAuthservID " + edgeName + "\nInternalHosts 127.0.0.1\nNameservers " + resolverAddress + "\n"
	dmarcConf = "Socket inet:8893@127.0.0.1\nSyslog false\nUserID opendmarc\nAuthservID " + edgeName + "\nTrustedAuthservIDs " + edgeName + "\nRejectFailures true\n" +
		"PublicSuffixList /usr/share/publicsuffix/public_suffix_list.dat\n"
)

// mailPostfix is Postfix and the three that check for it.
func (b *bench) mailPostfix() mailServer {
	return mailServer{"Postfix, OpenDKIM, OpenDMARC, policyd-spf", func() (running []*server, err error) {
		dir, err := os.MkdirTemp(b.dir, "postfix")
		if err != nil {
			return nil, err
		}
		if err := b.postfixFiles(dir); err != nil {
			return nil, err
		}
		for _, command := range [][]string{
			{"opendkim", "-f", "-x", dir + "/dkim.conf"}, {"opendmarc", "-f", "-c", dir + "/dmarc.conf"},
			{"/usr/lib/postfix/sbin/master", "-c", dir + "/etc", "-s"},
		} {
			p, err := b.run(filepath.Base(command[0]), command...)
			if err != nil {
				return running, err
			}
			running = append(running, p)
		}
		return running, awaitPort(edgeAddress + ":25")
	}}
}

// postfixFiles writes the configuration and the directories of a queue.
func (b *bench) postfixFiles(dir string) error {
	main := fmt.Sprintf(postfixMain, dir, edgeName, ourDomain, innerAddress)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for _, d := range []struct {
		names, owner, group string
		mode                os.FileMode
	}{
		{"etc queue queue/pid", "root", "root", 0o755},
		{"queue/active queue/bounce queue/corrupt queue/defer queue/deferred queue/flush queue/hold queue/incoming queue/private queue/saved queue/trace data", "postfix", "root", 0o700},
		{"queue/maildrop", "postfix", "postdrop", 0o730},
		{"queue/public", "postfix", "postdrop", 0o710},
	} {
		for _, name := range strings.Fields(d.names) {
			if err := owned(filepath.Join(dir, name), d.owner, d.group, d.mode); err != nil {
				return err
			}
		}
	}
	// Postfix waits two seconds before it reads a file written just now.
	past := time.Now().Add(-time.Hour)
	for name, text := range map[string]string{
		"etc/main.cf": main, "etc/master.cf": fmt.Sprintf(postfixMaster, edgeAddress, dir),
		"spf.conf": spfConf, "dkim.conf": dkimConf, "dmarc.conf": dmarcConf,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
		if err := os.Chtimes(path, past, past); err != nil {
			return err
		}
	}
	return nil
}

func owned(path, owner, group string, mode os.FileMode) error {
	u, err := user.Lookup(owner)
	if err != nil {
		return err
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(u.Uid) // numbers, on every Unix
	gid, _ := strconv.Atoi(g.Gid)
	if err := os.MkdirAll(path, mode); err != nil {
		return err
	}
	if err := os.Chown(path, uid, gid); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
