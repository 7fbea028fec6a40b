"""TLS in front of kube-embedded, as an API server has it: it asks for a client's certificate or token."""

import base64
import re
import socket
import ssl
import subprocess
import threading
import urllib.parse
from pathlib import Path

import yaml

from harness.servers import certificate_authority


class TLSFront:
    """Listens on 127.0.0.1 and passes what clients with a certificate of `ca` say on to `url`; with `tokens`, instead what
    comes with one of them, which is looked at once for each connection."""

    REFUSAL = b'{"kind":"Status","status":"Failure","reason":"Unauthorized","code":401}'

    def __init__(self, url, directory: Path, tokens=None):
        self.tokens, self.seen_tokens, self.clients = tokens, [], []
        self.directory = directory
        self.target = urllib.parse.urlparse(url)
        self.ca, key, certificate = certificate_authority(directory)
        self.client_key, self.client_certificate = directory / "client.key", directory / "client.pem"
        self._make_client_certificate()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.context.load_verify_locations(self.ca)
        self.context.verify_mode = ssl.CERT_NONE if tokens else ssl.CERT_REQUIRED
        self.subjects = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _make_client_certificate(self):
        request = self.directory / "client.csr"
        for command in (
                ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=millrace/CN=controller", "-keyout", self.client_key,
                 "-out", request],
                ["x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.directory / "ca.key", "-CAcreateserial",
                 "-days", "2", "-out", self.client_certificate]):
            subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)

    def _accept(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain):
        try:
            client = self.context.wrap_socket(plain, server_side=True)
        except (ssl.SSLError, OSError):
            plain.close()
            return
        self.clients.append(client)
        begun = b""
        if self.tokens is None:
            self.subjects.append(dict(pair[0] for pair in client.getpeercert()["subject"])["commonName"])
        else:
            begun = self._admitted(client)
            if begun is None:
                return
        server = socket.create_connection((self.target.hostname, self.target.port))
        server.sendall(begun)
        threading.Thread(target=self._pump, args=(server, client), daemon=True).start()
        self._pump(client, server)

    def _admitted(self, client):
        """What was read so far of a request with a good token; others are refused."""
        begun = b""
        while b"\r\n\r\n" not in begun:
            data = client.recv(65536)
            if not data:
                return None
            begun += data
        found = re.search(rb"(?im)^authorization: bearer (\S+)", begun)
        self.seen_tokens.append(found and found.group(1).decode())
        if self.seen_tokens[-1] in self.tokens:
            return begun
        client.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: "
                       + str(len(self.REFUSAL)).encode() + b"\r\n\r\n" + self.REFUSAL)
        client.close()
        return None

    def drop(self):
        """Ends all connections: the next ones are looked at anew."""
        for client in self.clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @staticmethod
    def _pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def kubeconfig(self, name="kubeconfig", inline=False, ca=None, **user) -> str:
        """One whose user has the client's certificate, as files or inline, or what `user` says."""
        if not user:
            user = self._pair(inline, "client-certificate", self.client_certificate) | self._pair(
                inline, "client-key", self.client_key)
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {
                "server": self.url, **self._pair(inline, "certificate-authority", ca or self.ca)}}],
            "users": [{"name": "u", "user": user}]}
        path = self.directory / name
        path.write_text(yaml.safe_dump(config))
        return str(path)

    @staticmethod
    def _pair(inline, name, path):
        if inline:
            return {f"{name}-data": base64.b64encode(Path(path).read_bytes()).decode()}
        return {name: str(path)}

    def stop(self):
        self.listener.close()
