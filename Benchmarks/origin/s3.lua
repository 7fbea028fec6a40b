-- The origin's S3: listings and objects of key series. A series is arithmetic, so a million keys take no memory:
--   { prefix = "tree/", directories = 200, files = 1000, bodies = {"small-00", ...} }
-- holds tree/000/0000 to tree/199/0999; without `directories`, prefix/0000000 on; without `files`, one key: `prefix`.
-- The series of a bucket are in key order and none's keys lie between another's.
local S3 = {}

local buckets, bodies

function S3.load(path)
  local config = dofile(path)
  buckets, bodies = config.buckets, config.bodies
  for _, bucket in pairs(buckets) do
    local first = 0
    for _, series in ipairs(bucket) do
      series.count = (series.directories or 1) * (series.files or 1)
      series.first = first
      first = first + series.count
    end
    bucket.count = first
  end
end

local function key_in(series, i)
  if series.directories then
    return string.format("%s%03d/%04d", series.prefix, math.floor(i / series.files), i % series.files)
  elseif series.files then
    return string.format("%s%07d", series.prefix, i)
  end
  return series.prefix
end

-- The i-th key of the bucket, from 0, and the name of its body.
local function entry(bucket, i)
  local low, high = 1, #bucket
  while low < high do
    local middle = math.ceil((low + high) / 2)
    if bucket[middle].first <= i then low = middle else high = middle - 1 end
  end
  local series = bucket[low]
  local at = i - series.first
  return key_in(series, at), series.bodies[at % #series.bodies + 1]
end

-- The first i whose key is at or after `key`.
local function lower_bound(bucket, key)
  local low, high = 0, bucket.count
  while low < high do
    local middle = math.floor((low + high) / 2)
    if entry(bucket, middle) < key then low = middle + 1 else high = middle end
  end
  return low
end

local function after_prefix(bucket, prefix) return lower_bound(bucket, prefix .. "\255") end

local function count(name, n) ngx.shared.counts:incr(ngx.var.origin .. ":" .. name, n or 1, 0) end

local function error_answer(status, code)
  ngx.status = status
  ngx.header["Content-Type"] = "application/xml"
  ngx.print("<?xml version='1.0'?><Error><Code>" .. code .. "</Code><Message>" .. code .. "</Message></Error>")
  return ngx.exit(status)
end

local function etag(body) return string.format("%x-%x", body.time, body.size) end

local function list(bucket, name)
  local query = ngx.req.get_uri_args()
  for k, v in pairs(query) do if type(v) ~= "string" then query[k] = "" end end
  local is_v2 = query["list-type"] == "2"
  local prefix, delimiter = query.prefix or "", query.delimiter or ""
  local limit = math.min(tonumber(query["max-keys"]) or 1000, 1000)
  -- Keys here need no escaping in XML; with encoding-type=url only the slash could differ, and S3 leaves it alone.
  local from = is_v2 and (query["continuation-token"] and ngx.decode_base64(query["continuation-token"])
    or query["start-after"]) or query.marker or ""

  local i = lower_bound(bucket, prefix)
  if from ~= "" then
    -- Past a common prefix is past all of its keys.
    local is_group = delimiter ~= "" and from:sub(-1) == delimiter
    i = math.max(i, is_group and after_prefix(bucket, from) or lower_bound(bucket, from .. "\0"))
  end
  local out, groups, listed, last = {}, {}, 0, nil
  local is_truncated = false
  while i < bucket.count do
    local key, body_name = entry(bucket, i)
    if key:sub(1, #prefix) ~= prefix then break end
    if listed == limit then is_truncated = true break end
    local cut = delimiter ~= "" and key:find(delimiter, #prefix + 1, true)
    if cut then
      last = key:sub(1, cut)
      groups[#groups + 1] = "<CommonPrefixes><Prefix>" .. last .. "</Prefix></CommonPrefixes>"
      i = after_prefix(bucket, last)
    else
      local body = bodies[body_name]
      last = key
      out[#out + 1] = "<Contents><Key>" .. key .. "</Key><LastModified>" .. body.date .. "</LastModified><ETag>&quot;"
        .. etag(body) .. "&quot;</ETag><Size>" .. string.format("%d", body.size)
        .. "</Size><StorageClass>STANDARD</StorageClass></Contents>"
      i = i + 1
    end
    listed = listed + 1
  end
  local next_page = ""
  if is_truncated then
    next_page = is_v2 and "<NextContinuationToken>" .. ngx.encode_base64(last) .. "</NextContinuationToken>"
      or "<NextMarker>" .. last .. "</NextMarker>"
  end
  local answer = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    .. "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>" .. name .. "</Name><Prefix>"
    .. prefix .. "</Prefix>" .. (delimiter ~= "" and "<Delimiter>" .. delimiter .. "</Delimiter>" or "")
    .. "<MaxKeys>" .. limit .. "</MaxKeys>" .. (is_v2 and "<KeyCount>" .. listed .. "</KeyCount>" or "")
    .. "<IsTruncated>" .. tostring(is_truncated) .. "</IsTruncated>" .. next_page
    .. table.concat(out) .. table.concat(groups) .. "</ListBucketResult>"
  ngx.header["Content-Type"] = "application/xml"
  ngx.header["Content-Length"] = #answer
  ngx.print(answer)
end

-- Every request to the S3 port.
function S3.serve()
  local method = ngx.req.get_method()
  local path = ngx.unescape_uri(ngx.var.request_uri:match("^[^?]*"))
  local name, key = path:match("^/([^/]+)/?(.*)$")
  local bucket = name and buckets[name]
  if not bucket then return error_answer(404, "NoSuchBucket") end
  if method ~= "GET" and method ~= "HEAD" then return error_answer(405, "MethodNotAllowed") end
  if ngx.shared.counts:add(ngx.var.origin .. ":connection:" .. ngx.worker.pid() .. ":" .. ngx.var.connection, true) then
    count("connections")
  end

  local is_list = key == "" and method == "GET"
  count(is_list and "LIST" or method)
  local wait = tonumber(is_list and ngx.var.list_seconds or ngx.var.first_byte_seconds)
  if wait > 0 then ngx.sleep(wait) end
  if key == "" then
    if method == "HEAD" then return ngx.exit(200) end
    if ngx.var.arg_location ~= nil then
      ngx.header["Content-Type"] = "application/xml"
      return ngx.print("<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></LocationConstraint>")
    end
    return list(bucket, name)
  end
  local i = lower_bound(bucket, key)
  if i == bucket.count then return error_answer(404, "NoSuchKey") end
  local found, body = entry(bucket, i)
  if found ~= key then return error_answer(404, "NoSuchKey") end
  return ngx.exec("/.bodies/" .. body)
end

function S3.log() count("bytes", tonumber(ngx.var.body_bytes_sent) or 0) end

-- The control port: GET answers the counts since the last POST.
function S3.control()
  local counts = ngx.shared.counts
  if ngx.req.get_method() == "POST" then
    counts:flush_all()
    return ngx.say("{}")
  end
  local fields = {}
  for _, name in ipairs { "GET", "HEAD", "LIST", "bytes", "connections" } do
    fields[#fields + 1] = string.format("\"%s\": %d", name, counts:get(ngx.var.arg_origin .. ":" .. name) or 0)
  end
  ngx.say("{" .. table.concat(fields, ", ") .. "}")
end

return S3
