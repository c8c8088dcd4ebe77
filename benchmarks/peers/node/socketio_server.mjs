// socket.io on node: a room per document, `emit` to the room, WebSocket only.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { publications } from "./publications.mjs";

const server = createServer();
const io = new Server(server, { transports: ["websocket"], perMessageDeflate: false });
io.on("connection", (socket) => {
    socket.on("subscribe", async (document, answer) => {
        await socket.join(document);
        answer("subscribed");
    });
});
const publish = publications((line) => {
    const event = JSON.parse(line);
    io.to(event.documentId).emit("event", event);
});
server.on("request", (request, response) => {
    if (!request.url.startsWith("/socket.io/")) publish(request, response);
});
server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
