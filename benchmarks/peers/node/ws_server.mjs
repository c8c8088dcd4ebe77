// The library ws on node: each message is sent to each client, as its documentation shows under "Server broadcast".
import { createServer } from "node:http";
import { WebSocket, WebSocketServer } from "ws";
import { publications } from "./publications.mjs";

const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
const server = createServer(
    publications((line) => {
        for (const client of sockets.clients) if (client.readyState === WebSocket.OPEN) client.send(line);
    }),
);
server.on("upgrade", (request, socket, head) => sockets.handleUpgrade(request, socket, head, () => {}));
server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
