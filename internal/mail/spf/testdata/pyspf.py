# Evaluates cases with pyspf, over a world that is given: JSON in, JSON out.
import json, sys, spf

task = json.load(sys.stdin)
world = {}

def lookup(name, qtype, strict=True, timeout=None):
    at = name.rstrip(".").lower()
    for _ in range(10):
        target = world.get(at + " CNAME")
        if not target:
            break
        at = target[0].rstrip(".").lower()
    out = []
    for v in world.get(at + " " + qtype, []):
        if v == "SERVFAIL":
            raise spf.TempError("SERVFAIL")
        if qtype == "TXT":
            v = (v.encode(),)
        elif qtype == "MX":
            preference, host = v.split()
            v = (int(preference), host.rstrip("."))
        elif qtype == "PTR":
            v = v.rstrip(".")
        out.append(((name, qtype), v))
    return out

spf.DNSLookup = lookup
answers = []
for c in task:
    world = c["World"]
    q = spf.query(i=c["Client"], s=c["From"], h=c["Helo"], strict=1, timeout=0)
    result, code, text = q.check()
    answers.append([result, str(q.mech) + " " + text])
json.dump(answers, sys.stdout)
