// Matte Video shows frames while it runs, and its clip when it is done. ComfyUI's frontend puts frames before a finished
// clip and would leave the last one there; and where a clip is shown, as in a second run, it takes frames for clips.
// It has no public call to take either away, so the store in which it keeps both is asked. A frontend that has no such
// store gets no frames: then its own way with a finished clip, as of Save Video, is right.
import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"

const TYPE = "BiRefNetMatteVideo"
const FRAME = "b_preview_with_metadata" // the event that brings a frame
const FRAMES = ["$$canvas-image-preview", "$$comfy_animation_preview"] // widgets in which it shows them
const CLIP = ["video-preview"]
const LATE = [100, 1000] // milliseconds after which a frame that was still being loaded has come

function findStore() {
  const store = app.extensionManager?._p?._s?.get("nodeOutput")
  return store?.nodePreviewImages && store.nodeOutputs ? store : null
}

// The node of an id as "7" or, inside of subgraphs, "3:7", with the nodes around it from the outermost in.
function findPath(id) {
  const path = []
  let graph = app.rootGraph ?? app.graph
  for (const part of String(id).split(":")) {
    const node = graph?.getNodeById?.(part) ?? graph?.getNodeById?.(Number(part))
    if (!node) return []
    path.push(node)
    graph = node.subgraph
  }
  return path
}

function isOurs(path) {
  const node = path[path.length - 1]
  return (node?.comfyClass ?? node?.type) === TYPE
}

// How the frontend calls a node in its stores.
const keyOf = (node) => (node.graph?.isRootGraph === false ? `${node.graph.id}:${node.id}` : `${node.id}`)

function dropWidgets(node, names) {
  for (const widget of node.widgets?.filter((widget) => names.includes(widget.name)) ?? []) {
    widget.onRemove?.()
    node.widgets.splice(node.widgets.indexOf(widget), 1)
  }
}

function dropFrames(node, store) {
  const key = keyOf(node)
  store.revokePreviewsByLocatorId?.(key)
  for (const previews of [app.nodePreviewImages, store.nodePreviewImages]) delete previews?.[key]
  dropLoaded(node)
  node.preview = node.images = undefined // so that it looks again at what there is to show
}

function dropLoaded(node) {
  dropWidgets(node, FRAMES)
  node.imgs = undefined
  if (node.previewMediaType === "image") node.previewMediaType = undefined
  node.setDirtyCanvas?.(true, true)
}

function dropClip(node, store) {
  const key = keyOf(node)
  if (!store.nodeOutputs[key] && !node.videoContainer) return
  for (const outputs of [app.nodeOutputs, store.nodeOutputs]) delete outputs?.[key]
  dropWidgets(node, CLIP)
  node.videoContainer = node.previewMediaType = node.images = node.animatedImages = undefined
}

// Before any listener, so that frames find no clip. Whether the frontend may have the frame.
function beforeFrame(id) {
  const path = findPath(id ?? "")
  if (!isOurs(path)) return true
  const store = findStore()
  if (store) dropClip(path[path.length - 1], store)
  return !!store
}

function afterRun({ detail }) {
  const path = findPath(detail?.display_node || detail?.node || "")
  const store = findStore()
  if (!isOurs(path) || !store) return
  for (const node of path) dropFrames(node, store)
  const node = path[path.length - 1]
  for (const wait of LATE) setTimeout(() => node.imgs && keyOf(node) in store.nodeOutputs && dropLoaded(node), wait)
}

app.registerExtension({
  name: "birefnet-suite.matte-video",
  setup() {
    const dispatch = api.dispatchCustomEvent
    api.dispatchCustomEvent = function (type, detail) {
      return type !== FRAME || beforeFrame(detail?.displayNodeId) ? dispatch.apply(this, arguments) : true
    }
    api.addEventListener("executed", afterRun)
  },
})
