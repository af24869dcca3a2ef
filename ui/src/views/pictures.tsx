// The pictures of a call: the far side's large, our own small in its corner. Sound is played elsewhere.
import type { Call } from "@crosspoint/client";
import { useEffect, useRef } from "preact/hooks";
import { Icon } from "./icons";

export function Pictures({ call, name }: { call: Call; name: string }) {
  const frame = useRef<HTMLDivElement>(null);
  const [theirs, ours] = [call.remoteVideo, call.localStream !== undefined];
  if (!theirs && !ours) return null;
  const fill = () => {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void frame.current?.requestFullscreen?.().catch(() => {});
  };
  return (
    <div ref={frame} class={theirs ? "pictures" : "pictures ours"}>
      {theirs && <Screen stream={call.remoteStream} label={`Picture of ${name}`} />}
      {ours && <Screen stream={call.localStream} label="Your picture" own />}
      {theirs && (
        <button type="button" class="plain full" aria-label="Full screen" aria-keyshortcuts="F" title="Full screen (F)" onClick={fill}>
          <Icon name="full" />
        </button>
      )}
    </div>
  );
}

function Screen({ stream, label, own = false }: { stream: MediaStream | undefined; label: string; own?: boolean }) {
  const screen = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    if (screen.current) screen.current.srcObject = stream ?? null;
  }, [stream]);
  return <video ref={screen} class={own ? "own" : ""} role="img" aria-label={label} autoplay muted playsInline disablePictureInPicture={own} />;
}
