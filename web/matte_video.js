// Matte Video shows frames while it runs, and its clip when it is done. ComfyUI's frontend puts the last frame shown
// before the clip, and would leave it there.
import { app } from "../../scripts/app.js"

app.registerExtension({
  name: "birefnet-suite.matte-video",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== "BiRefNetMatteVideo") return
    const before = nodeType.prototype.onExecuted
    nodeType.prototype.onExecuted = function (output) {
      before?.call(this, output)
      for (const key of Object.keys(app.nodePreviewImages ?? {}))
        if (key.split(":").pop() === String(this.id)) delete app.nodePreviewImages[key]
      this.imgs = this.preview = this.images = undefined // what it shows, so that it looks again
      this.setDirtyCanvas(true, true)
    }
  },
})
