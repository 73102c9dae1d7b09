local os = require("os")

-- Any value that the operator has not handled yet is a request.
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["sharding.io/unlock-requested-at"] = os.date("!%Y-%m-%dT%XZ")
return obj
