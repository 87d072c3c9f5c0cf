/** The most memory that this process has had. */

/** Peak resident set. Node gives kibibytes on every system. */
export const peakMemoryBytes = (): number => process.resourceUsage().maxRSS * 1024
