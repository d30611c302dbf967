"use strict";
// One button starts every video of a group at once; when the longest has ended, all start again.
for (const group of document.querySelectorAll(".videos")) {
  const videos = [...group.querySelectorAll("video")];
  const button = group.querySelector("button");
  let running = false;
  let again = 0;

  const start = () => {
    for (const video of videos) {
      video.currentTime = 0;
      video.play().catch(() => {});
    }
  };
  const show = () => {
    button.textContent = running ? "Pause" : "Play";
    button.setAttribute("aria-pressed", String(running));
  };
  const toggle = () => {
    running = !running;
    clearTimeout(again);
    if (!running) {
      videos.forEach((video) => video.pause());
    } else if (videos.every((video) => video.ended || video.currentTime === 0)) {
      start();
    } else {
      videos.filter((video) => !video.ended).forEach((video) => video.play().catch(() => {}));
    }
    show();
  };
  for (const video of videos) {
    video.muted = true;
    video.addEventListener("click", toggle);
    video.addEventListener("ended", () => {
      if (running && videos.every((other) => other.ended)) again = setTimeout(start, 900);
    });
  }
  button.addEventListener("click", toggle);
  show();
}
