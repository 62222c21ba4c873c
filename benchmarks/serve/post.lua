-- wrk: posts one file over and over. THINK_MS is how long a connection pauses between answer and request, on average; the
-- pauses are exponential, so that requests arrive as from people who know nothing of each other.
local file = io.open(os.getenv("BODY_FILE"), "rb")
wrk.method = "POST"
wrk.body = file:read("*all")
wrk.headers["Content-Type"] = os.getenv("BODY_TYPE")
file:close()

local think = tonumber(os.getenv("THINK_MS"))
if think > 0 then
    function delay()
        -- one in fifty would be longer than 4 s, after which servers hang up
        return math.floor(math.min(-think * math.log(1 - math.random()), 4000) + 0.5)
    end
end

-- Where BODY_PATHS lists several, requests take turns among them.
local paths = {}
for path in string.gmatch(os.getenv("BODY_PATHS"), "[^,]+") do
    paths[#paths + 1] = path
end
if #paths > 0 then
    local count = 0
    function request()
        count = count + 1
        return wrk.format(nil, paths[count % #paths + 1])
    end
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format('\nJSON {"answers": %d, "seconds": %.6f, "failed": %d, "p50": %.3f, "p95": %.3f, "p99": %.3f}\n',
        summary.requests, summary.duration / 1e6, errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
end
