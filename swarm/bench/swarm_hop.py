"""What a node between adds: a task that comes in at one node and is done by another, beside its engine asked directly.

The same questions go to the engine, to the node, and, if wished, to a LiteLLM proxy in front of the same engine; in
turns, so that whatever else the machine does falls on all.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from swarm.bench.report import Measurement, Section, load_now, percentile
from swarm.bench.swarm_engine import MODEL, TOKENS
from swarm.bench.swarm_load import Target, first_tokens, node_target, ollama_target, openai_target, per_second
from swarm.bench.swarm_nodes import SwarmNode, engine, folder, free_port, listens, swarm_of, until
from swarm.child import end_child, start_child
from swarm.errors import MycoswarmError

RATE = 20.0
CLIENTS = 32
ROUNDS = 4
WARM_UP = 20
INSTALL_S = 900.0
LITELLM_START_S = 180.0
LITELLM = "litellm[proxy]"


async def measure_hop(*, questions: int, seconds: float, litellm: Path | None, tell: Callable[[str], None]) -> Section:
    """`questions` for the time to the first token, `seconds` of as many as possible; `litellm` is the proxy's program
    (`install_litellm`). Raises `MycoswarmError`."""
    tell("a task through one node to another")
    async with AsyncExitStack() as running:
        home = await running.enter_async_context(folder())
        port = await running.enter_async_context(engine())
        entry, worker = SwarmNode(home / "entry"), SwarmNode(home / "worker", engine=port, slots=64)
        await running.enter_async_context(swarm_of(entry, worker))
        await entry.sees(worker, models=True)
        direct, hop = ollama_target(port), node_target("the entry node", entry.port)
        targets = [direct, hop]
        proxy = await running.enter_async_context(_litellm(litellm, port, home)) if litellm else None
        if proxy is not None:
            targets += [openai_target("the engine as an OpenAI-style server", port), proxy.target]
        for target in targets:
            await first_tokens(target, number=WARM_UP, rate=RATE)
        first_s: dict[str, list[float]] = {target.name: [] for target in targets}
        for number in range(ROUNDS):
            tell(f"time to the first token, {number + 1} of {ROUNDS}")
            for target in targets:
                first_s[target.name] += await first_tokens(target, number=questions // ROUNDS, rate=RATE)
        rates = {}
        for target in targets:
            tell(f"as many questions as {target.name} answers")
            rates[target.name] = await per_second(target, clients=CLIENTS, seconds=seconds)
        memory = [resident_mb(entry.pid), resident_mb(worker.pid)]
        proxy_mb = resident_mb(proxy.pid) if proxy is not None else None

    def p(target: Target, percent: float) -> float:
        return 1000 * (percentile(first_s[target.name], percent) or 0.0)

    added = p(hop, 50) - p(direct, 50)
    of = len(first_s[hop.name])
    rows = [
        Measurement("first token of the engine itself, p50", p(direct, 50), "ms", of=of),
        Measurement("added by the swarm, p50", added, "ms", most=1.5, of=of),
        Measurement("added by the swarm, p95", p(hop, 95) - p(direct, 95), "ms", of=of),
        Measurement(f"answers a second, {CLIENTS} clients", rates[hop.name], "/s", least=500),
        Measurement("answers a second of the engine itself", rates[direct.name], "/s"),
        Measurement("memory of the entry node afterwards", memory[0], "MB"),
        Measurement("memory of the worker afterwards", memory[1], "MB"),
    ]
    notes = [
        f"Client, entry node, worker and engine are four processes on one machine; TLS 1.3 between the nodes. {RATE:g} "
        f"questions a second for the first token, whether or not earlier ones are answered; each answer has "
        f"{len(TOKENS)} tokens, sent one by one. The engine says a fixed text at once. Load at the end: "
        f"{load_now():g}, this measurement's own included."
    ]
    if proxy is not None:
        openai = targets[2]
        proxy_added = p(proxy.target, 50) - p(openai, 50)
        rows += [
            Measurement("added by the LiteLLM proxy, p50", proxy_added, "ms", of=of),
            Measurement("the swarm's added time, of LiteLLM's", 100 * added / proxy_added, "%", most=12.5),
            Measurement("answers a second of the LiteLLM proxy", rates[proxy.target.name], "/s"),
            Measurement("the swarm's, times LiteLLM's", rates[hop.name] / rates[proxy.target.name], "", least=10),
            Measurement("memory of the LiteLLM proxy afterwards", proxy_mb, "MB"),
        ]
        notes.append(f"LiteLLM {proxy.version}, one worker, in front of the same engine by its OpenAI-style API.")
    else:
        notes.append("`--with-litellm` installs the LiteLLM proxy into a folder of its own and measures it beside.")
    return Section("A task through one node to another", tuple(rows), tuple(notes))


def resident_mb(pid: int) -> float | None:
    """Of a process and its children; None when it cannot be told."""
    import psutil

    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return float(sum(each.memory_info().rss for each in family)) / 1e6
    except psutil.Error:
        return None


async def install_litellm(tell: Callable[[str], None]) -> Path:
    """The proxy's program, in a virtual environment of its own in the cache folder. Raises `MycoswarmError`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "mycoswarm" / "litellm"
    program = place / "bin" / "litellm"
    if program.exists():
        return program
    tell(f"installing {LITELLM} into {place}")
    for argv in ([sys.executable, "-m", "venv", str(place)], [str(place / "bin" / "pip"), "install", "-q", LITELLM]):
        process = await start_child(argv, env={**os.environ, "PYTHONPATH": ""})
        try:
            async with asyncio.timeout(INSTALL_S):
                status = await process.wait()
        except TimeoutError:
            status = -1
        finally:
            await end_child(process)
        if status != 0:
            shutil.rmtree(place, ignore_errors=True)
            raise MycoswarmError(f"{LITELLM} cannot be installed", hint="leave out --with-litellm")
    return program


class _Proxy:
    def __init__(self, target: Target, pid: int, version: str) -> None:
        self.target = target
        self.pid = pid
        self.version = version


@asynccontextmanager
async def _litellm(program: Path, engine_port: int, home: Path) -> AsyncIterator[_Proxy]:
    port = free_port()
    config = home / "litellm.yaml"
    config.write_text(
        f'model_list:\n  - model_name: "{MODEL}"\n    litellm_params:\n      model: "openai/{MODEL}"\n'
        f'      api_base: "http://127.0.0.1:{engine_port}/v1"\n      api_key: "none"\n'
        "litellm_settings:\n  telemetry: false\n",
        encoding="utf-8",
    )
    argv = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    # Neither its price list nor anything else is fetched: what is measured stays on this machine.
    key = f"sk-{secrets.token_hex(32)}"  # it does not start without one
    environment = {
        **os.environ,
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "PYTHONPATH": "",
    }
    process = await start_child(argv, env=environment)
    try:

        async def ready() -> bool:
            if process.returncode is not None:
                raise MycoswarmError(f"the LiteLLM proxy ended with status {process.returncode}")
            return await asyncio.to_thread(listens, port)

        await until(ready, "the LiteLLM proxy did not start", seconds=LITELLM_START_S)
        found = sorted(program.parent.parent.glob("lib/*/site-packages/litellm-*.dist-info"))
        version = found[0].name.removeprefix("litellm-").removesuffix(".dist-info") if found else "of this machine"
        yield _Proxy(openai_target("the LiteLLM proxy", port, key=key), process.pid, version)
    finally:
        await end_child(process, grace_s=5.0)
