-- The operator applies a policy that is Ready. An invalid policy permits no users until it is changed.

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
  return {status = "Progressing", message = "Waiting for the operator to see the policy"}
end

if condition("Stalled").status == "True" then
  return {status = "Degraded", message = ready.message}
end
if ready.status == "True" then
  return {status = "Healthy", message = ready.message}
end
return {status = "Progressing", message = ready.message}
