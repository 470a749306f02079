// Matte Video shows frames while it runs, and its clip when it is done. ComfyUI's frontend puts the last frame shown
// before the clip, and would leave it there.
import { app } from "../../scripts/app.js"

const FRAMES = ["$$canvas-image-preview", "$$comfy_animation_preview"] // widgets in which it shows them

function dropFrames(node) {
  for (const key of Object.keys(app.nodePreviewImages ?? {}))
    if (key.split(":").pop() === String(node.id)) delete app.nodePreviewImages[key]
  for (const widget of node.widgets?.filter((widget) => FRAMES.includes(widget.name)) ?? []) {
    widget.onRemove?.()
    node.widgets.splice(node.widgets.indexOf(widget), 1)
  }
  node.imgs = node.preview = node.images = undefined // what it shows, so that it looks again
  node.setDirtyCanvas(true, true)
}

app.registerExtension({
  name: "birefnet-suite.matte-video",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== "BiRefNetMatteVideo") return
    const before = nodeType.prototype.onExecuted
    nodeType.prototype.onExecuted = function (output) {
      before?.call(this, output)
      dropFrames(this)
      setTimeout(() => dropFrames(this), 1000) // a frame that was still being loaded comes after all
    }
  },
})
