"""A real ComfyUI server of our own: started on a free port with a folder of its own, asked over HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACK = "birefnet-suite"
READY = "To see the GUI go to"
PATIENCE_SECONDS = 3600  # for a machine that is busy with other things; nothing is measured by it


class Refused(AssertionError):
    """ComfyUI did not take a prompt; `errors` is its answer."""

    def __init__(self, errors: dict[str, Any]) -> None:
        super().__init__(json.dumps(errors, indent=1))
        self.errors = errors


class Server:
    """ComfyUI from the checkout `tree`, run by `python`, with our pack, the test's probe and `others` (folders of more
    packs) as its only custom nodes.

    base: its folder, with custom_nodes, input, output, models and user. Use as a context manager.
    """

    def __init__(
        self,
        tree: Path,
        base: Path,
        *,
        python: str = sys.executable,
        options: tuple[str, ...] = (),
        others: tuple[Path, ...] = (),
    ) -> None:
        self.tree, self.base, self.python = tree, base, python
        self._options = options
        self._packs = {PACK: ROOT, "probe": Path(__file__).with_name("probe"), **{path.name: path for path in others}}
        self.log: deque[str] = deque(maxlen=2000)
        self.address = ""

    def __enter__(self) -> Server:
        for folder in ("custom_nodes", "input", "output", "models/background_removal", "user"):
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        for name, target in self._packs.items():
            (self.base / "custom_nodes" / name).symlink_to(target, target_is_directory=True)
        port = _free_port()
        self.address = f"http://127.0.0.1:{port}"
        command = [
            *(self.python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port)),
            *("--base-directory", str(self.base), "--disable-api-nodes", "--cache-classic"),
            *("--database-url", "sqlite:///:memory:"),
            *("--disable-all-custom-nodes", "--whitelist-custom-nodes", *self._packs),
            *self._options,
        ]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self._process = subprocess.Popen(
            command, cwd=self.tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if not any(READY in line for line in self._lines()):
            self.__exit__()
            raise RuntimeError(f"ComfyUI did not start:\n{''.join(self.log)}")
        threading.Thread(target=deque, args=(self._lines(), 0), daemon=True).start()  # so that the pipe never fills
        return self

    def __exit__(self, *exception) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def _lines(self):
        try:
            for line in self._process.stdout:
                self.log.append(line)
                yield line
        except ValueError:  # closed while a thread was reading
            return

    def get(self, path: str) -> Any:
        return self._ask(path)

    def post(self, path: str, content: Any) -> Any:
        return self._ask(path, json.dumps(content).encode())

    def _ask(self, path: str, content: bytes | None = None) -> Any:
        request = urllib.request.Request(self.address + path, content, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(json.loads(error.read() or b"{}")) from None
        return json.loads(body) if body else None

    def queue(self, prompt: dict[str, Any]) -> str:
        """Hands in a prompt in API format; the id it got. Refused when ComfyUI finds fault with any node of it."""
        answer = self.post("/prompt", {"prompt": prompt})
        if answer["node_errors"]:
            raise Refused(answer)
        return answer["prompt_id"]

    def finished(self, prompt_id: str) -> dict[str, Any]:
        """The history entry of a prompt, once it has ended in whatever way."""
        return self.wait_for(lambda: self.get(f"/history/{prompt_id}").get(prompt_id), f"prompt {prompt_id}")

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """Runs a prompt; AssertionError with ComfyUI's own message when it fails."""
        entry = self.finished(self.queue(prompt))
        assert entry["status"]["status_str"] == "success", self.error(entry)
        return entry

    def wait_for(self, happened, what: str) -> Any:
        """What `happened()` gives as soon as that is true."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not (value := happened()):
            if time.monotonic() > until or self._process.poll() is not None:
                raise AssertionError(f"waited in vain for {what}:\n{''.join(self.log)}")
            time.sleep(0.05)
        return value

    @staticmethod
    def messages(entry: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """What ComfyUI said while it ran a prompt: "execution_cached" -> {"nodes": [...]}, and so on."""
        return dict(entry["status"]["messages"])

    @classmethod
    def error(cls, entry: dict[str, Any]) -> str:
        said = cls.messages(entry).get("execution_error", {})
        return f"{said.get('node_type')}: {said.get('exception_message')}\n{''.join(said.get('traceback', []))}"

    @property
    def has_native_background_removal(self) -> bool:
        return (self.tree / "comfy" / "bg_removal_model.py").is_file()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
