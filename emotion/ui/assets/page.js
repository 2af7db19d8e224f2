// Browsers know too few names of sound: without a type, Gradio refuses a file that the recogniser can read.
(() => {
  const SUFFIXES = "wav,mp3,m4a,aac,flac,ogg,oga,opus,webm,mp4,mov,mkv,mka,3gp,amr,awb,aif,aiff,caf,wma,au,ac3".split(",");
  const suffix = (name) => name.split(".").pop().toLowerCase();
  const isSound = (file) => SUFFIXES.includes(suffix(file.name));
  const box = (event) => event.target instanceof Element && event.target.closest("#recording");

  const typed = (files) => {
    const transfer = new DataTransfer();
    for (const file of files) {
      const known = file.type.startsWith("audio/") || !isSound(file);
      transfer.items.add(known ? file : new File([file], file.name, { type: "audio/" + suffix(file.name) }));
    }
    return transfer;
  };
  const foreign = (files) => [...files].some((file) => isSound(file) && !file.type.startsWith("audio/"));

  document.addEventListener("click", (event) => {
    const input = box(event) && box(event).querySelector("input[type=file]");
    if (input) input.accept = "audio/*," + SUFFIXES.map((name) => "." + name).join(",");
  }, true);

  document.addEventListener("change", (event) => {
    if (box(event) && event.target.files && foreign(event.target.files)) event.target.files = typed(event.target.files).files;
  }, true);

  document.addEventListener("drop", (event) => {
    if (!box(event) || !foreign(event.dataTransfer.files)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const dataTransfer = typed(event.dataTransfer.files);
    event.target.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
  }, true);
})();
