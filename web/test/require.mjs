// onnxruntime-web asks for node's own modules by `require`, which modules do not have.

import { createRequire } from "node:module";

globalThis.require = createRequire(import.meta.url);
