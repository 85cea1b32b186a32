-- The requests of wrk: a chat completion of 1 KB, always the same. At the end it prints the result as one line of JSON, as
-- call.lua does.
--
--   wrk … -s chat.lua URL -- - ["Header: value" …]

local whole

function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  for i = 2, #args do
    local name, value = args[i]:match("^([^:]+): (.*)$")
    wrk.headers[name] = value
  end
  local text = string.rep("word ", 180)
  whole = wrk.format(nil, nil, nil,
    '{"model":"bench","messages":[{"role":"user","content":"' .. text .. '"}],"max_tokens":16,"temperature":0}')
end

function request()
  return whole
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"failed":%d,"bad_status":%d,"p50":%d,"p99":%d,"max":%d}\n',
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout, errors.status,
    latency:percentile(50), latency:percentile(99), latency.max))
end
