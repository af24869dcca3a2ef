// The web phone: wires the page to one Phone.
import { Phone, type CallView, type Quality } from "./phone";

const at = <T extends HTMLElement>(id: string): T => {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
};

const registrationWords = {
  offline: "Signed out",
  connecting: "Connecting…",
  registered: "Registered",
  failed: "Not registered",
} as const;

const phone = new Phone({
  registration(state, reason) {
    const badge = at("registration");
    badge.dataset.state = state;
    badge.textContent = registrationWords[state];
    const signedIn = state === "registered" || state === "connecting";
    at("sign-in").hidden = signedIn;
    at("sign-out").hidden = !signedIn;
    at("notice").textContent = state === "failed" ? (reason ?? "The server refused.") : "";
    showCall(phone.view);
  },
  call: showCall,
  quality: showQuality,
  notice(text) {
    at("notice").textContent = text;
  },
  remote(stream) {
    at<HTMLAudioElement>("remote").srcObject = stream;
  },
});

function showCall(view: CallView | null): void {
  const registered = at("registration").dataset.state === "registered";
  at("dialer").hidden = !registered || view !== null;
  at("incoming").hidden = view?.stage !== "incoming";
  at("active").hidden = view === null || view.stage === "incoming";
  document.title = view?.stage === "incoming" ? `${view.party} is calling` : "Crosspoint phone";
  if (!view) {
    showQuality(null);
    return;
  }
  at("caller").textContent = view.party;
  at("party").textContent = view.party;
  at("call-state").textContent = view.stateText;
  at("mute").setAttribute("aria-pressed", String(view.muted));
  at("hold").setAttribute("aria-pressed", String(view.held));
  const up = view.stage === "up";
  for (const id of ["mute", "hold"]) at<HTMLButtonElement>(id).disabled = !up;
  for (const key of at("keypad").querySelectorAll("button")) key.disabled = !up;
}

function showQuality(quality: Quality | null): void {
  at("loss").textContent = quality ? `${quality.lossPercent.toFixed(1)} %` : "–";
  at("jitter").textContent = quality ? `${quality.jitterMs.toFixed(0)} ms` : "–";
  at("round-trip").textContent =
    quality?.roundTripMs === undefined ? "–" : `${quality.roundTripMs.toFixed(0)} ms`;
  at("codec").textContent = quality?.codec ?? "–";
}

for (const key of "123456789*0#") {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = key;
  button.addEventListener("click", () => phone.sendDigit(key));
  at("keypad").append(button);
}

at("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  void phone.signIn(at<HTMLInputElement>("user").value.trim(), at<HTMLInputElement>("password").value);
});
at("dial").addEventListener("submit", (event) => {
  event.preventDefault();
  phone.dial(at<HTMLInputElement>("number").value.trim());
});
for (const shortcut of document.querySelectorAll<HTMLButtonElement>("[data-dial]")) {
  shortcut.addEventListener("click", () => phone.dial(shortcut.dataset.dial ?? ""));
}
at("answer").addEventListener("click", () => phone.answer());
at("reject").addEventListener("click", () => phone.hangUp());
at("hang-up").addEventListener("click", () => phone.hangUp());
at("mute").addEventListener("click", () => phone.toggleMute());
at("hold").addEventListener("click", () => phone.toggleHold());
at("sign-out").addEventListener("click", () => phone.signOut());

setInterval(() => {
  const since = phone.view?.answeredAt;
  const seconds = since === undefined ? 0 : Math.floor((Date.now() - since) / 1000);
  at("duration").textContent =
    since === undefined ? "" : `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}, 500);
