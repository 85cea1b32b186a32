"""Checks that the compose example runs the same server as the tests, and that the images of both examples are those of the
Dockerfile: `check_compose.py`, exit code 0 if so.

It is not among the Rust tests, because it needs a YAML parser and a shell's reading of the clock's command. `clock.py` is changed
only together with the example and the walkthrough.
"""

import shlex
from pathlib import Path

import yaml

HERE = Path(__file__).parent
EXAMPLE = HERE / "../../examples/mcp-proxy/compose.yaml"
LLM_EXAMPLE = HERE / "../../examples/llm-pool/compose.yaml"


def main() -> None:
    services = yaml.safe_load(EXAMPLE.read_text())["services"]
    command = clock_command(services["clock"])
    release = next(line for line in (HERE / "fastmcp-2.11.3/requirements.txt").read_text().splitlines() if line[:1] not in "#")
    app = command[command.index("echo") + 1]
    assert app.strip() == (HERE / "clock.py").read_text().strip(), f"clock.py is not the example's app:\n{app}"
    assert release in command, f"the example does not install {release}: {command[:4]}"

    check_images(services)
    check_images(yaml.safe_load(LLM_EXAMPLE.read_text())["services"])
    print("compose.yaml and clock.py agree")


def check_images(services: dict) -> None:
    dockerfile = (HERE / "../../Dockerfile").read_text().splitlines()
    targets = {line.split(" AS ")[1].strip() for line in dockerfile if " AS " in line}
    told = {line.removeprefix("ARG ") for line in dockerfile if line.startswith("ARG LLAMAPOOL_")}
    for name in ("server", "worker"):
        build = services[name]["build"]
        target = build["target"]
        assert target in targets, f"service {name} is built from {target}, which the Dockerfile does not have: {targets}"
        assert set(build["args"]) == told, f"service {name} is built with {build['args']}, and the Dockerfile takes {told}"


def clock_command(clock: dict) -> list[str]:
    """Returns the words of the script: split as compose splits a command, and then as the shell in the container does."""
    shell, flag, script = shlex.split(clock["command"])
    assert (shell, flag) == ("sh", "-c"), (shell, flag)
    return shlex.split(script)


if __name__ == "__main__":
    main()
