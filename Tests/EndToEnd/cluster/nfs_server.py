"""nfs-ganesha, a real NFS server in user space, with an export in memory. It mounts nothing and needs no kernel server."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from harness.servers import free_port
from harness.waiting import eventually

PROGRAM = shutil.which("ganesha.nfsd")

CONFIGURATION = """
NFS_CORE_PARAM {{
  Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false;
  Enable_UDP = false;
}}
NFSv4 {{ Graceless = true; RecoveryRoot = {directory}/recovery; }}
EXPORT {{
  Export_Id = 1; Path = /shared/course; Pseudo = /shared/course; Access_Type = RO; Protocols = 4; Transports = TCP;
  FSAL {{ Name = MEM; }}
}}
"""


class NFSServer:
    """Exports /shared/course; use as a context manager."""

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="millrace-nfs-"))
        (self.directory / "recovery").mkdir()
        self.port = free_port()
        (self.directory / "conf").write_text(CONFIGURATION.format(port=self.port, directory=self.directory))

    def __enter__(self):
        self.process = subprocess.Popen(
            [PROGRAM, "-F", "-f", self.directory / "conf", "-L", self.directory / "log", "-p", self.directory / "pid"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def is_up():
            assert self.process.poll() is None, (self.directory / "log").read_text()[-2000:]
            log = self.directory / "log"
            return log.exists() and "NFS SERVER INITIALIZED" in log.read_text()

        eventually(is_up, 40, "nfs-ganesha")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(20)
        shutil.rmtree(self.directory)
