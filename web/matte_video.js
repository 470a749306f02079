// Matte Video shows frames while it runs, and its clip when it is done. ComfyUI's frontend puts the last frame shown
// before the clip, and would leave it there.
import { app } from "../../scripts/app.js"

const FRAMES = ["$$canvas-image-preview", "$$comfy_animation_preview"] // widgets in which it shows them

app.registerExtension({
  name: "birefnet-suite.matte-video",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== "BiRefNetMatteVideo") return
    const before = nodeType.prototype.onExecuted
    nodeType.prototype.onExecuted = function (output) {
      before?.call(this, output)
      for (const key of Object.keys(app.nodePreviewImages ?? {}))
        if (key.split(":").pop() === String(this.id)) delete app.nodePreviewImages[key]
      for (const widget of this.widgets?.filter((widget) => FRAMES.includes(widget.name)) ?? []) {
        widget.onRemove?.()
        this.widgets.splice(this.widgets.indexOf(widget), 1)
      }
      this.imgs = this.preview = this.images = undefined // what it shows, so that it looks again
      this.setDirtyCanvas(true, true)
    }
  },
})
