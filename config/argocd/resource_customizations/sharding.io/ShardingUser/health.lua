-- A user that is Ready is healthy, also while it is locked: the message contains the end of the lock. A user that is Stalled
-- is degraded. Other states can end without a change: the Secret is applied later, or the database becomes available.

local function condition(kind)
  for _, c in ipairs((obj.status or {}).conditions or {}) do
    if c.type == kind then
      return c
    end
  end
  return {}
end

-- Until the operator has seen this generation, the conditions are those of an earlier one.
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

-- Conditions of a healthy account that its owner should know.
local remarks = {}
for _, kind in ipairs({"Locked", "Expired", "WeakPassword", "PasswordSuspicious", "PasswordExpired"}) do
  local remark = condition(kind)
  if remark.status == "True" then
    table.insert(remarks, remark.message)
  end
end
if #remarks == 0 then
  table.insert(remarks, ready.message)
end
return {status = "Healthy", message = table.concat(remarks, " ")}
