// Sends requests for some seconds, and tells what came back as JSON: node load.js < {url, headers, requests, connections, seconds}
import autocannon from "autocannon";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const given = JSON.parse(Buffer.concat(chunks).toString());
const result = await autocannon({
  url: given.url,
  connections: given.connections,
  duration: given.seconds,
  requests: given.requests,
  headers: given.headers,
});
const { latency, requests, non2xx, errors, timeouts } = result;
process.stdout.write(
  JSON.stringify({
    count: requests.total,
    seconds: result.duration,
    p50: latency.p50,
    p99: latency.p99,
    failed: non2xx + errors + timeouts,
  }),
);
