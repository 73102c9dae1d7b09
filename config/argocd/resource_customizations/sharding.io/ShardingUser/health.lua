-- Ready is healthy, and a locked user is ready: the message says until when. What no retry can mend is degraded. All else
-- may still come: a Secret that is applied later, or a database that is away.

local function condition(kind)
  for _, c in ipairs((obj.status or {}).conditions or {}) do
    if c.type == kind then
      return c
    end
  end
  return {}
end

-- Until the operator has seen this generation, its conditions tell of an earlier one.
local ready = condition("Ready")
if ready.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "Waiting for the operator to see the user"}
end

if condition("Stalled").status == "True" then
  return {status = "Degraded", message = ready.message}
end
if ready.reason == "Paused" then
  return {status = "Suspended", message = ready.message}
end
if ready.status ~= "True" then
  return {status = "Progressing", message = ready.message}
end

-- What there is to know of the account, although all is well with it.
local remarks = {}
for _, kind in ipairs({"Locked", "WeakPassword", "PasswordSuspicious", "PasswordExpired"}) do
  local remark = condition(kind)
  if remark.status == "True" then
    table.insert(remarks, remark.message)
  end
end
if #remarks == 0 then
  table.insert(remarks, ready.message)
end
return {status = "Healthy", message = table.concat(remarks, " ")}
