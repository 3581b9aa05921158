"""A child process whose sockets and name look-ups fail for anything but loopback, and say so in a file: its first argument."""

GUARD = """
import socket, sys

LOG = open(sys.argv.pop(1), "a")

def is_loopback(host):
    host = host.decode() if isinstance(host, bytes) else host
    return host is None or host in ("localhost", "::1") or str(host).startswith("127.")

def guarded(call, host_of):
    def check(*arguments, **named):
        host = host_of(arguments)
        if not is_loopback(host):
            print(call.__name__, host, file=LOG, flush=True)
            raise OSError(101, f"network is unreachable: {host}")
        return call(*arguments, **named)
    return check

def host_of_address(arguments):
    sock, address = arguments[:2]
    return address[0] if sock.family in (socket.AF_INET, socket.AF_INET6) else None

class Socket(socket.socket):
    connect = guarded(socket.socket.connect, host_of_address)
    connect_ex = guarded(socket.socket.connect_ex, host_of_address)
    sendto = guarded(socket.socket.sendto, lambda arguments: arguments[-1][0])

socket.socket = Socket
socket.getaddrinfo = guarded(socket.getaddrinfo, lambda arguments: arguments[0])
socket.gethostbyname = guarded(socket.gethostbyname, lambda arguments: arguments[0])
"""
