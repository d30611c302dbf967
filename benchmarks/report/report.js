"use strict";
// One button starts every video of a group at once; when the longest has ended, all start again.
for (const group of document.querySelectorAll(".videos")) {
  const videos = [...group.querySelectorAll("video")];
  const button = group.querySelector("button.play");
  const ear = group.querySelector("button.sound");
  const audible = videos.filter((video) => video.dataset.sound !== undefined);
  let heard = 0; // of the audible ones; their number: none
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
  // One is heard at a time, for two tracks at once tell nothing.
  const listen = () => {
    audible.forEach((video, index) => { video.muted = index !== heard; });
    if (ear) ear.textContent = `Sound: ${heard < audible.length ? audible[heard].dataset.sound : "off"}`;
  };
  if (ear) {
    ear.addEventListener("click", () => {
      heard = (heard + 1) % (audible.length + 1);
      listen();
    });
  }
  for (const video of videos) {
    video.muted = true;
    video.addEventListener("click", toggle);
    video.addEventListener("ended", () => {
      if (running && videos.every((other) => other.ended)) again = setTimeout(start, 900);
    });
  }
  button.addEventListener("click", toggle);
  listen();
  show();
}
