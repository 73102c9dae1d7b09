local status = obj.status or {}
local paused = (obj.metadata.annotations or {})["sharding.io/paused"] == "true"
local active = (obj.spec or {}).active ~= false

-- A pause holds back a request to unlock as well, so that it would seem to do nothing.
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
