-- The requests of wrk: a chat completion of so many bytes, always the same, with WORDS in the prompt. At the end it prints the
-- result as one line of JSON, as call.lua does.
--
--   wrk … -s chat.lua URL -- "BYTES [WORDS]" ["Header: value" …]

local whole

function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  for i = 2, #args do
    local name, value = args[i]:match("^([^:]+): (.*)$")
    wrk.headers[name] = value
  end
  local bytes, words = args[1]:match("^(%d+) ?(.*)$")
  local before = '{"model":"bench","messages":[{"role":"user","content":"' .. words .. ' '
  local after = '"}],"max_tokens":16,"temperature":0}'
  local size = math.max(0, tonumber(bytes) - #before - #after)
  local text = string.rep("word ", math.ceil(size / 5)):sub(1, size)
  whole = wrk.format(nil, nil, nil, before .. text .. after)
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
