// Times llama.cpp token by token, through the prebuilt binaries of the npm package node-llama-cpp.
//
// usage: node llama_cpp.mjs MODEL.gguf --package FOLDER [--mode resident|mmap] [--threads N]
//                           [--tokens N] [--prompt-tokens N] [--seed S]
//
// FOLDER is where `npm install node-llama-cpp` was run. Prints one JSON object. Each measured token
// is fed on its own, seeded and random, as `sluice bench --token-source random` does it, and logits
// are computed for it. resident: the file is read into memory first; mmap: pages come as touched.
import fs from "node:fs";
import path from "node:path";
import {pathToFileURL} from "node:url";

function parse(argv) {
  const options = {mode: "resident", threads: 2, tokens: 64, "prompt-tokens": 32, seed: 1};
  for (let i = 0; i < argv.length; ++i) {
    const name = argv[i].replace(/^--/, "");
    if (name === argv[i]) options.model = argv[i];
    else options[name] = argv[++i];
  }
  for (const name of ["threads", "tokens", "prompt-tokens", "seed"]) {
    options[name] = Number(options[name]);
  }
  if (!options.model || !options.package || !["resident", "mmap"].includes(options.mode)) {
    throw new Error("usage: llama_cpp.mjs MODEL.gguf --package FOLDER [--mode resident|mmap] ...");
  }
  return options;
}

// A small generator of its own, so that a seed means the same everywhere.
function randomTokens(seed, count, vocab) {
  let state = BigInt(seed);
  const tokens = [];
  for (let i = 0; i < count; ++i) {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn;
    tokens.push(Number((state >> 33n) % BigInt(vocab)));
  }
  return tokens;
}

function quantiles(ms) {
  const sorted = [...ms].sort((a, b) => a - b);
  const at = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
  const mean = ms.reduce((sum, value) => sum + value, 0) / ms.length;
  const variance = ms.reduce((sum, value) => sum + (value - mean) ** 2, 0) / ms.length;
  return {median: at(0.5), p95: at(0.95), std: Math.sqrt(variance)};
}

function status(key) {
  const line = fs.readFileSync("/proc/self/status", "utf8").split("\n")
      .find((each) => each.startsWith(key + ":"));
  return line === undefined ? 0 : Number(line.split(/\s+/)[1]) * 1024;
}

// Bytes that this process has had from storage, and page faults that waited for it.
function storage() {
  const line = fs.readFileSync("/proc/self/io", "utf8").split("\n")
      .find((each) => each.startsWith("read_bytes:"));
  return {bytes: Number(line.split(" ")[1]), faults: process.resourceUsage().majorPageFault};
}

async function load(options) {
  const root = path.join(path.resolve(options.package), "node_modules", "node-llama-cpp");
  const about = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"));
  const {getLlama} = await import(pathToFileURL(path.join(root, "dist", "index.js")));
  const llama = await getLlama({gpu: false, build: "never", skipDownload: true,
                                maxThreads: options.threads, logLevel: "error"});
  const model = await llama.loadModel({modelPath: path.resolve(options.model),
                                       gpuLayers: 0, useMmap: options.mode === "mmap",
                                       checkTensors: false, ignoreMemorySafetyChecks: true});
  const context = await model.createContext({
    contextSize: 256, batchSize: 32, sequences: 1, ignoreMemorySafetyChecks: true,
    threads: {ideal: options.threads, min: options.threads}});
  return {llama, context, version: `node-llama-cpp ${about.version}, ` +
          `llama.cpp ${llama.llamaCppRelease.release}`};
}

async function run(options) {
  const {llama, context, version} = await load(options);
  const sequence = context.getSequence();
  const vocab = 50000;  // every shape's vocabulary is larger
  const prompt = randomTokens(options.seed, options["prompt-tokens"], vocab);
  const fed = randomTokens(options.seed + 1, options.tokens, vocab);
  const options_of_token = {generateNext: {options: {temperature: 0}, token: true}};
  await sequence.controlledEvaluate(prompt);
  const before = storage();
  const ms = [];
  for (const token of fed) {
    const start = process.hrtime.bigint();
    await sequence.controlledEvaluate([[token, options_of_token]]);
    ms.push(Number(process.hrtime.bigint() - start) / 1e6);
  }
  const after = storage();
  console.log(JSON.stringify({
    engine: "llama.cpp", version, mode: options.mode, cpu: llama.systemInfo.trim(),
    ms_per_token: quantiles(ms), tokens: ms.length, prompt_tokens: prompt.length,
    threads: context.currentThreads, seed: options.seed,
    bytes_per_token: (after.bytes - before.bytes) / ms.length,
    major_faults_per_token: (after.faults - before.faults) / ms.length,
    peak_rss_bytes: status("VmHWM"), model_bytes: fs.statSync(options.model).size}));
}

try {
  await run(parse(process.argv.slice(2)));
  process.exit(0);  // llama.cpp's own threads need not wind down
} catch (error) {
  console.error(String(error && error.message ? error.message : error));
  process.exit(1);
}
