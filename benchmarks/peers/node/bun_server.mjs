// Bun's own server: clients subscribe to a topic, `server.publish` sends to it.
const server = Bun.serve({
    port: Number(process.argv[2]),
    hostname: "127.0.0.1",
    async fetch(request, server) {
        if (request.method === "POST") {
            for (const line of (await request.text()).split("\n")) server.publish("all", line);
            return new Response("");
        }
        return server.upgrade(request) ? undefined : new Response("", { status: 400 });
    },
    websocket: {
        perMessageDeflate: false,
        open: (socket) => socket.subscribe("all"),
        message: () => {},
    },
});
