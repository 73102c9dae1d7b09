if obj.spec == nil then
  obj.spec = {}
end
obj.spec.active = false
return obj
