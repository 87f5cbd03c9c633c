-- Goes round a ring of prepared requests and checks every answer.
-- Arguments: the file of requests, the statuses that are right (comma-separated), the length of a body or -1,
-- the number of threads.
-- Prints one line of JSON at the end.

local threads = {}

function setup(thread)
   thread:set("number", #threads)
   table.insert(threads, thread)
end

local function read_requests(path, share, shares)
   local found = {}
   local file = assert(io.open(path, "rb"))
   local count = 0
   while true do
      local size = file:read("*l")
      if not size then break end
      local request = file:read(tonumber(size))
      if count % shares == share then table.insert(found, request) end
      count = count + 1
   end
   file:close()
   return found
end

function init(arguments)
   local shares = tonumber(arguments[4])
   ring = read_requests(arguments[1], number % shares, shares)
   if #ring == 0 then ring = read_requests(arguments[1], 0, 1) end
   right = {}
   for status in arguments[2]:gmatch("%d+") do right[tonumber(status)] = true end
   length = tonumber(arguments[3])
   position, wrong, answers, received = 0, 0, 0, 0
   example = ""
end

function request()
   position = position % #ring + 1
   return ring[position]
end

function response(status, _, body)
   answers = answers + 1
   received = received + #body
   if not right[status] or (length >= 0 and #body ~= length) then
      wrong = wrong + 1
      example = "status " .. status .. ", " .. #body .. " bytes"
   end
end

function done(summary, latency, _)
   local wrong_of_all, bytes, example_of_all = 0, 0, ""
   for _, thread in ipairs(threads) do
      wrong_of_all = wrong_of_all + thread:get("wrong")
      bytes = bytes + thread:get("received")
      if thread:get("example") ~= "" then example_of_all = thread:get("example") end
   end
   local e = summary.errors
   io.write(string.format(
      '\nOUTCOME {"operations": %d, "microseconds": %d, "bytes": %d, "wrong": %d, "example": "%s", ' ..
      '"broken": %d, "p50": %.4f, "p99": %.4f}\n',
      summary.requests, summary.duration, bytes, wrong_of_all, example_of_all,
      e.connect + e.read + e.write + e.timeout, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
