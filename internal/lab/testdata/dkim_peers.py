# Signs and verifies messages with dkimpy and with libopendkim: one JSON list of
# tasks on standard input, one list of answers on standard output.
import base64, ctypes, json, sys
import dkim

work = json.load(sys.stdin)
keys = work["keys"]  # name of a key record -> its text


def txt(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    text = keys.get(name.rstrip(".").lower())
    return text.encode() if text is not None else None


lib = ctypes.CDLL("libopendkim.so.11")
for f in ("dkim_init", "dkim_sign", "dkim_verify"):
    getattr(lib, f).restype = ctypes.c_void_p
lib.dkim_init.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
lib.dkim_options.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
lib.dkim_sign.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p,
                          ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ssize_t, ctypes.POINTER(ctypes.c_int)]
lib.dkim_verify.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)]
lib.dkim_header.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
lib.dkim_eoh.argtypes = [ctypes.c_void_p]
lib.dkim_body.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
lib.dkim_eom.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_bool)]
lib.dkim_getsighdr.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t]
lib.dkim_free.argtypes = [ctypes.c_void_p]
opendkim = lib.dkim_init(None, None)
SET, QUERYMETHOD, QUERYINFO, FILE = 1, 6, 7, 1
method = ctypes.c_int(FILE)
lib.dkim_options(opendkim, SET, QUERYMETHOD, ctypes.byref(method), ctypes.sizeof(method))
keyfile = ctypes.create_string_buffer(work["keyfile"].encode())
lib.dkim_options(opendkim, SET, QUERYINFO, keyfile, len(keyfile))


def feed(h, message):
    head, _, body = message.partition(b"\r\n\r\n")
    fields = []
    for line in head.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] += b"\r\n" + line
        else:
            fields.append(line)
    for f in fields:
        stat = lib.dkim_header(h, f, len(f))
        if stat:
            return stat
    stat = lib.dkim_eoh(h)
    if stat:
        return stat
    if body:
        stat = lib.dkim_body(h, body, len(body))
    return stat or lib.dkim_eom(h, None)


def opendkim_sign(t, message):
    stat = ctypes.c_int(0)
    canon = {"simple": 0, "relaxed": 1}
    h = lib.dkim_sign(opendkim, b"x", None, t["pem"].encode(), t["selector"].encode(), t["domain"].encode(),
                      canon[t["header"]], canon[t["body"]], 1, -1, ctypes.byref(stat))
    stat = feed(h, message)
    if stat:
        raise ValueError("opendkim: %d" % stat)
    buf = ctypes.create_string_buffer(65536)
    stat = lib.dkim_getsighdr(h, buf, len(buf), len("DKIM-Signature: "))
    lib.dkim_free(h)
    if stat:
        raise ValueError("opendkim: %d" % stat)
    field = buf.value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return b"DKIM-Signature: " + field + b"\r\n"


def opendkim_verify(message):
    stat = ctypes.c_int(0)
    h = lib.dkim_verify(opendkim, b"x", None, ctypes.byref(stat))
    stat = feed(h, message)
    lib.dkim_free(h)
    return "pass" if stat == 0 else "fail %d" % stat


def dkimpy_sign(t, message):
    return dkim.sign(message, t["selector"].encode(), t["domain"].encode(), t["pem"].encode(),
                     canonicalize=(t["header"].encode(), t["body"].encode()), signature_algorithm=t["algorithm"].encode(),
                     length=t.get("length", False))


def dkimpy_verify(message):
    try:
        return "pass" if dkim.DKIM(message).verify(dnsfunc=txt) else "fail"
    except Exception as e:
        return "fail %s" % e


def arc_sign(t, message):
    # dkim.arc_sign would ask the world's DNS about the seals that are there.
    dkim.get_txt = txt
    return b"".join(dkim.arc_sign(message, t["selector"].encode(), t["domain"].encode(), t["pem"].encode(), t["domain"].encode()))


def arc_verify(message):
    cv, _, _ = dkim.arc_verify(message, dnsfunc=txt)
    return cv.decode()


answers = []
for t in work["tasks"]:
    message = base64.b64decode(t["message"])
    do = {"opendkim sign": lambda: opendkim_sign(t, message), "opendkim verify": lambda: opendkim_verify(message),
          "dkimpy sign": lambda: dkimpy_sign(t, message), "dkimpy verify": lambda: dkimpy_verify(message),
          "arc sign": lambda: arc_sign(t, message), "arc verify": lambda: arc_verify(message)}[t["do"]]
    try:
        out = do()
    except Exception as e:
        out = "error: %s" % e
    answers.append(out if isinstance(out, str) else base64.b64encode(out).decode())
json.dump(answers, sys.stdout)
