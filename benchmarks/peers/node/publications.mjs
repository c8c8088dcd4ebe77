// What the peers on node have in common: publications by POST, one message a line, and whatever is not that refused.

/** Make a request handler that hands each line of a POST's body to `publish`. */
export function publications(publish) {
    return (request, response) => {
        const parts = [];
        request.on("data", (part) => parts.push(part));
        request.on("end", () => {
            for (const line of Buffer.concat(parts).toString().split("\n")) publish(line);
            response.writeHead(200, { "Content-Length": 0 });
            response.end();
        });
    };
}
