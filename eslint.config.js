import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: [".venv/", "outputs/"] },
  js.configs.recommended,
  {
    rules: {
      complexity: ["error", 10],
      eqeqeq: "error",
      "max-len": ["error", { code: 120 }],
      "max-lines": ["error", 400],
      "max-lines-per-function": ["error", 50],
      "no-shadow": "error",
      "no-unused-expressions": "error",
      "no-var": "error",
      "prefer-const": "error",
    },
  },
  {
    files: ["emotion/ui/assets/*.js"],
    languageOptions: { globals: { ...globals.browser, studio: "readonly" } }, // see emotion/ui/scripts.py
  },
  {
    files: ["emotion/ui/assets/live_worklet.js"],
    languageOptions: { globals: globals.audioWorklet },
  },
  { files: ["tests/js/*.js"], languageOptions: { globals: globals.nodeBuiltin } },
];
