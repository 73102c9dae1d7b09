local status = obj.status or {}
local paused = (obj.metadata.annotations or {})["sharding.io/paused"] == "true"
local active = (obj.spec or {}).active ~= false

-- The operator does not handle a request to unlock while the user is paused.
return {
  ["unlock"] = {
    ["displayName"] = "Unlock",
    ["iconClass"] = "fa-solid fa-fw fa-unlock",
    ["disabled"] = paused or not status.locked,
  },
  ["pause"] = {
    ["displayName"] = "Pause",
    ["iconClass"] = "fa-solid fa-fw fa-pause",
    ["disabled"] = paused,
  },
  ["resume"] = {
    ["displayName"] = "Resume",
    ["iconClass"] = "fa-solid fa-fw fa-play",
    ["disabled"] = not paused,
  },
  ["deactivate"] = {
    ["displayName"] = "Deactivate",
    ["iconClass"] = "fa-solid fa-fw fa-ban",
    ["disabled"] = not active,
  },
}
