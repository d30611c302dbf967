"use strict";
// One thing plays at a time; a line on its spectrograms shows where it is.
const media = [...document.querySelectorAll("video, audio")];
for (const one of media) {
  const heads = [...one.closest("article").querySelectorAll(".spectrogram")].map((picture) => ({
    line: picture.querySelector(".head"),
    seconds: Number(picture.dataset.seconds),
    width: Number(picture.dataset.width),
  }));
  const follow = () => {
    for (const { line, seconds, width } of heads) {
      const share = Math.min(one.currentTime / seconds, 1);
      line.setAttribute("transform", `translate(${share * width} 0)`);
    }
    if (!one.paused) requestAnimationFrame(follow);
  };
  one.addEventListener("play", () => {
    media.filter((other) => other !== one).forEach((other) => other.pause());
    follow();
  });
  one.addEventListener("seeked", follow);
}
