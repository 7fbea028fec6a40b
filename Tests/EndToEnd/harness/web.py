"""A real nginx with a directory of files, on loopback."""

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from .servers import free_port
from .waiting import eventually

CONFIGURATION = """
worker_processes 1;
daemon off;
pid {work}/pid;
error_log {work}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log {work}/access.log;
  default_type application/octet-stream;
  client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3;
  uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
  map $http_range $ranged {{ default 1; "" 0; }}
  log_format requests '$request_method $uri $status $body_bytes_sent $ranged';
  access_log {work}/requests.log requests;
  server {{
    listen 127.0.0.1:{port};
    location /files/ {{ alias {work}/root/; autoindex on; }}
    location /json/ {{ alias {work}/root/; autoindex on; autoindex_format json; }}
    location /whole/ {{ alias {work}/root/; autoindex on; max_ranges 0; }}
    location /private/ {{ alias {work}/root/; autoindex on; auth_basic "x"; auth_basic_user_file {work}/users; }}
    location /moved/ {{ return 302 http://127.0.0.1:{port}/files$request_uri; }}
    location /metadata/ {{ return 302 http://169.254.169.254/latest/; }}
  }}
}}
"""


class Web:
    """/files/ and /json/ list what is in `root`, /whole/ answers no ranges, /private/ wants user:word."""

    def __init__(self):
        self.work = Path(tempfile.mkdtemp(prefix="millrace-e2e-web-"))
        self.root = self.work / "root"
        self.root.mkdir()
        self.work.chmod(0o755)
        self.port = free_port()
        (self.work / "users").write_text("user:{PLAIN}word\n")
        (self.work / "nginx.conf").write_text(CONFIGURATION.format(work=self.work, port=self.port))
        self.process = subprocess.Popen(
            ["nginx", "-c", str(self.work / "nginx.conf"), "-p", str(self.work), "-g", "user root;"],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def is_up():
            assert self.process.poll() is None, (self.work / "error.log").read_text()
            return (self.work / "pid").exists()

        eventually(is_up, 20, "nginx")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        shutil.rmtree(self.work, ignore_errors=True)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def put(self, name: str, data: bytes):
        """Under its name at once, as a deployment does it."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.new")
        draft.write_bytes(data)
        draft.rename(path)

    def requests(self) -> list[list[str]]:
        """Method, path, status, bytes, and whether it had a range."""
        log = self.work / "requests.log"
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []
