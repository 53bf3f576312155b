// A subscriber as its author would write it: node receiver.js PORT SECRET LOG. Appends a line of JSON for each message.
import { appendFileSync } from "node:fs";
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const [port, secret, log] = process.argv.slice(2);
const webhook = new Webhook(secret);

createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const told = { id: request.headers["webhook-id"] };
    try {
      told.sequence = webhook.verify(Buffer.concat(parts).toString(), request.headers).sequence;
      told.ok = true;
    } catch (error) {
      told.error = String(error);
      told.ok = false;
    }
    appendFileSync(log, JSON.stringify(told) + "\n");
    response.writeHead(told.ok ? 204 : 400).end();
  });
}).listen(Number(port), "127.0.0.1");
