// Video Frames in workflows that were saved before 0.2.0. Their values are matched to widgets by place, and the last of
// them, of the upload button, now meets an input that has come before it since.
import { app } from "../../scripts/app.js"

const TYPE = "BiRefNetVideoFrames"
const FIRST = "sound_track" // of the inputs that came with 0.2.0
const ADDED = [0, true, false] // what it and those behind it then mean: nothing changes

app.registerExtension({
  name: "birefnet-suite.VideoFrames",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== TYPE) return
    const configure = nodeType.prototype.configure
    nodeType.prototype.configure = function (saved) {
      const values = saved.widgets_values
      const place = this.widgets?.findIndex((widget) => widget.name === FIRST) ?? -1
      if (place >= 0 && Array.isArray(values) && typeof values[place] === "string")
        saved = { ...saved, widgets_values: [...values.slice(0, place), ...ADDED, ...values.slice(place)] }
      return configure.call(this, saved)
    }
  },
})
