// Line icons on a 24 by 24 grid, drawn for this page.

const PATHS = {
  call: "M5 4h4l1.5 4.5-2.2 1.6a12 12 0 0 0 5.6 5.6l1.6-2.2L20 15v4a1.5 1.5 0 0 1-1.6 1.5A15.5 15.5 0 0 1 3.5 5.6 1.5 1.5 0 0 1 5 4Z",
  end: "M3 13.5c5-4.6 13-4.6 18 0l-1.2 3.2-4.3-1.2v-2.6a12 12 0 0 0-7 0v2.6l-4.3 1.2Z",
  microphone: "M12 4a2.5 2.5 0 0 1 2.5 2.5V11a2.5 2.5 0 0 1-5 0V6.5A2.5 2.5 0 0 1 12 4ZM6 11a6 6 0 0 0 12 0M12 17v3.5",
  muted: "M9.5 9v2a2.5 2.5 0 0 0 4 2M14.5 10V6.5a2.5 2.5 0 0 0-4.7-1.2M6 11a6 6 0 0 0 9.5 4.9M18 11a6 6 0 0 1-.4 2.2M12 17v3.5M4 4l16 16",
  camera: "M4 7h9a1.5 1.5 0 0 1 1.5 1.5v7A1.5 1.5 0 0 1 13 17H4a1.5 1.5 0 0 1-1.5-1.5v-7A1.5 1.5 0 0 1 4 7ZM14.5 11l6-3.5v9l-6-3.5",
  camera_off: "M8 7h5a1.5 1.5 0 0 1 1.5 1.5v5M14.5 11l6-3.5v9l-3-1.7M13.5 17H4a1.5 1.5 0 0 1-1.5-1.5v-7c0-.6.3-1 .7-1.2M4 4l16 16",
  full: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  pause: "M9 5v14M15 5v14",
  play: "M8 5l11 7-11 7Z",
  keypad: "M5 5h.01M12 5h.01M19 5h.01M5 12h.01M12 12h.01M19 12h.01M5 19h.01M12 19h.01M19 19h.01",
  transfer: "M4 17c0-5 4-8 9-8h6M15 5l4 4-4 4",
  swap: "M7 4v15M7 19l-3.5-3.5M7 19l3.5-3.5M17 20V5M17 5l-3.5 3.5M17 5l3.5 3.5",
  recents: "M12 3.5a8.5 8.5 0 1 1-8 5.6M12 7.5V12l3.5 2M4 4v5h5",
  contacts: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM4.5 20a7.5 7.5 0 0 1 15 0",
  check: "M3 12h4l2.5-6 4.5 12 2.5-6H21",
  settings: "M4 7h9M18 7h2M4 17h2M11 17h9M15.5 9.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5ZM8.5 19.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5Z",
  erase: "M9 5h11v14H9l-6-7ZM12.5 9.5l5 5M17.5 9.5l-5 5",
  add: "M12 5v14M5 12h14",
  remove: "M5 7h14M10 4h4M7 7l1 13h8l1-13",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  dark: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5Z",
  auto: "M12 3.5a8.5 8.5 0 1 0 0 17ZM12 3.5a8.5 8.5 0 0 1 0 17",
  incoming: "M19 5L6 18M6 9v9h9",
  outgoing: "M5 19L18 6M18 15V6H9",
  missed: "M19 6l-7 7-7-7M5 6h5M5 6v5",
  passed: "M4.5 12.5l5 5 10-11",
  warning: "M12 4l9 16H3ZM12 10v5M12 17.5v.01",
  failed: "M6 6l12 12M18 6L6 18",
  skipped: "M6 12h12",
  device: "M8 3h8a1.5 1.5 0 0 1 1.5 1.5v15A1.5 1.5 0 0 1 16 21H8a1.5 1.5 0 0 1-1.5-1.5v-15A1.5 1.5 0 0 1 8 3ZM11 18h2",
  leave: "M14 4H6v16h8M10 12h11M17 8l4 4-4 4",
  help: "M9 9a3 3 0 1 1 4 3c-.8.4-1 1-1 2M12 17.5v.01",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d="M0 8h16M8 0v16" />
      <circle cx="8" cy="8" r="3.5" />
    </svg>
  );
}
