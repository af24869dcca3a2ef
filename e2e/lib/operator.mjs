// The interface for operators, as one of them uses it.
import { request } from "node:https";

/** Asks `/api/v1` of a gateway; gives the members of the answer with its status. */
export function operator(gateway, token, method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    // On a connection of its own: one that was kept may end just when it is used again, and not everything may be asked twice.
    const options = { agent: false, host: gateway.host, port: gateway.port("https"), method, path: `/api/v1${path}`, headers };
    const asked = request({ ...options, rejectUnauthorized: false }, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk)).on("end", () => resolve({ status: response.statusCode, ...JSON.parse(text) }));
    });
    asked.on("error", reject).end(body && JSON.stringify(body));
  });
}
