if obj.metadata.annotations ~= nil then
  obj.metadata.annotations["sharding.io/paused"] = nil
end
return obj
