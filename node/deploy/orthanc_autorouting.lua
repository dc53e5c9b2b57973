-- Orthanc sends every CT series to the node oarseg once no new slice has come for "StableAge" seconds (default 60).
--
-- In orthanc.json:
--   "LuaScripts": ["orthanc_autorouting.lua"],
--   "DicomModalities": {"oarseg": ["OARSEG", "127.0.0.1", 11112]}
--
-- The same for one series, by REST (SERIES: Orthanc's own identifier):
--   curl http://localhost:8042/modalities/oarseg/store -d SERIES

function OnStableSeries(seriesId, tags, metadata)
  -- The RTSTRUCT that comes back is a series too, and is not sent.
  if tags['Modality'] == 'CT' then
    -- Asynchronous: Orthanc takes images meanwhile, and its job list shows what became of it.
    RestApiPost('/modalities/oarseg/store', DumpJson({Resources = {seriesId}, Asynchronous = true}))
  end
end
