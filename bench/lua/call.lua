-- The requests of wrk: tools/call, each with its own id. At the end it prints the result as one line of JSON.
--
-- A request is made by joining three strings, so that the load generator never is the bottleneck.
--
--   wrk … -s call.lua URL -- "TOOL [BYTES]" ["Header: value" …]
--
-- With BYTES the argument of the tool makes the body so large.

local head, tail
local id = 1000000000

function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Accept"] = "application/json, text/event-stream"
  for i = 2, #args do
    local name, value = args[i]:match("^([^:]+): (.*)$")
    wrk.headers[name] = value
  end
  local tool, bytes = args[1]:match("^(%S+) ?(%d*)$")
  local before = '{"jsonrpc":"2.0","id":'
  local call, finish = ',"method":"tools/call","params":{"name":"' .. tool .. '","arguments":{', '}}}'
  if bytes ~= "" then
    local size = math.max(0, tonumber(bytes) - #before - 10 - #call - #finish - #'"text":""')
    call = call .. '"text":"' .. string.rep("w", size) .. '"'
  end
  local after = call .. finish
  -- All ids have as many digits, so all requests are as long as this one.
  local whole = wrk.format(nil, nil, nil, before .. id .. after)
  local at = whole:find(id, 1, true)
  while whole:sub(at - #before, at - 1) ~= before do
    at = whole:find(id, at + 1, true)
  end
  head, tail = whole:sub(1, at - 1), whole:sub(at + 10)
end

function request()
  id = id + 1
  return head .. id .. tail
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"failed":%d,"bad_status":%d,"p50":%d,"p99":%d,"max":%d}\n',
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout, errors.status,
    latency:percentile(50), latency:percentile(99), latency.max))
end
