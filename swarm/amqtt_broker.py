"""An MQTT broker in pure Python, for machines without Mosquitto: `python -m swarm.amqtt_broker PORT`.

A process of its own, so that neither its work nor its failures are in the node's event loop. Serves anonymous clients
of this machine only (127.0.0.1); keeps everything in memory.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys


async def serve(port: int) -> None:
    """Serve on the loopback port until SIGTERM or SIGINT."""
    from amqtt.broker import Broker as AmqttBroker
    from amqtt.contexts import BrokerConfig

    config = BrokerConfig.from_dict(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    broker = AmqttBroker(config, loop=loop)
    await broker.start()
    await ended.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # It prints a traceback for every client that goes away without saying so, which devices do all the time.
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.CRITICAL)
    asyncio.run(serve(int(sys.argv[1])))
