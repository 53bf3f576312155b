"""The other side of bench_webhooks.py, a process of its own: answers 204 to any POST, after the seconds that the path names (/5/name).

Prints its port, then for each line on standard input the arrivals since the last one, as JSON: [[path, time.monotonic()], ..].
"""

import asyncio
import json
import sys
import time

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
ARRIVED: list[tuple[str, float]] = []


class Subscriber(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = self.data[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            if len(self.data) < end + 4 + length:
                return
            path = self.data.split(b" ", 2)[1].decode()
            self.data = self.data[end + 4 + length :]
            ARRIVED.append((path, time.monotonic()))
            pause = float(path.split("/")[1])
            if pause:
                asyncio.get_running_loop().call_later(pause, self.transport.write, ANSWER)
            else:
                self.transport.write(ANSWER)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Subscriber, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(ARRIVED), flush=True)
        ARRIVED.clear()


if __name__ == "__main__":
    asyncio.run(main())
