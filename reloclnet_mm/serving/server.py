"""Where the page is served: the address, and the program that answers on it."""

import ipaddress
import socket

from reloclnet_mm.errors import InputError

try:
    import uvicorn
    from fastapi import FastAPI
except ImportError as e:
    raise InputError('the page needs uvicorn; run: pip install "reloclnet_mm[serve]"') from e


def listen(host: str, port: int) -> socket.socket:
    """Open the socket on which requests come.

    Args:
        host: Name or number of an interface of this computer.
        port: 0: any that is free.

    Raises:
        InputError: It cannot be opened.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family)
    except OSError as error:
        raise InputError(
            f'--host {host} --port {port}: cannot listen there ({error.strerror}); choose another '
            'port, or 0 for any that is free'
        ) from error
    # Connections inherit it. Without, the body of an answer waits 40 ms for the browser to confirm
    # the headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def is_loopback(listener: socket.socket) -> bool:
    """Whether only programs on this computer reach the socket."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def address_of(listener: socket.socket) -> str:
    """Return what to type into a browser."""
    host, port = listener.getsockname()[:2]
    return f'http://[{host}]:{port}/' if ':' in host else f'http://{host}:{port}/'


def make_server(app: FastAPI) -> uvicorn.Server:
    """Return a server that runs on an open socket by ``run(sockets=[…])``."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            lifespan='off',
            log_level='warning',
            # Its own configuration would close the files of all other logs of the process.
            log_config=None,
            # A client must not choose the address by which its requests are counted.
            proxy_headers=False,
            server_header=False,
            # Ctrl-C does not wait for the end of a video that is being sent.
            timeout_graceful_shutdown=2,
        )
    )
